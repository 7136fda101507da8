/** What signs and colours mean; each sign has a shape of its own, so that nothing hangs on colour alone. */
export function Legend() {
  return (
    <p className="graph-legend muted">
      <span>
        <i className="sign feature" /> feature
      </span>
      <span>
        <i className="sign token" /> token
      </span>
      <span>
        <i className="sign error" /> error
      </span>
      <span>
        <i className="sign leaf" /> untraced
      </span>
      <span>
        <i className="swatch raises" /> raises the target
      </span>
      <span>
        <i className="swatch lowers" /> lowers it
      </span>
      <span>
        size and width: logarithm of what is added; few lines are thick, so that they show
      </span>
      <span className="legend-keys">
        Click a node for its links · Shift-click or Shift-drag selects · drag moves, Ctrl and wheel
        zooms · ? for keys
      </span>
    </p>
  );
}
