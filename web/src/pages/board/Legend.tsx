/** What the marks on the board mean. */
export function Legend({ asked }: { asked: boolean }) {
  return (
    <ul className="board-legend" aria-label="Marks on the board">
      <li>
        <span className="board-square sample legal" aria-hidden="true" /> legal by the rules
      </li>
      {asked && (
        <>
          <li>
            <span className="chance" aria-hidden="true">
              12
            </span>{" "}
            the model’s probability in percent; darker is likelier
          </li>
          <li>
            <span className="chance against" aria-hidden="true">
              12
            </span>{" "}
            of a square that is not legal
          </li>
        </>
      )}
      <li>
        <span className="disc white taken sample" aria-hidden="true" /> just taken
      </li>
      <li>
        <span className="disc white turned sample" aria-hidden="true" /> just turned
      </li>
    </ul>
  );
}
