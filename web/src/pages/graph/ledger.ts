/** The ledger as a bar: what raises the target to the right of zero, what lowers it to the left. */

export interface Part {
  name: string;
  value: number;
}

export interface Segment extends Part {
  /** From and to, in shares of the bar. */
  from: number;
  to: number;
  /** Its number among the parts, for its colour. */
  order: number;
}

export interface Bar {
  segments: Segment[];
  /** Where nothing is, and where the sum is, in shares of the bar. */
  zero: number;
  sum: number;
}

/** Parts end to end from zero, each on its side; those of no size are left out. */
export function barOf(parts: readonly Part[], target: number): Bar {
  const raised = parts.reduce((sum, { value }) => sum + Math.max(0, value), 0);
  const lowered = parts.reduce((sum, { value }) => sum + Math.max(0, -value), 0);
  // The target may lie outside what its parts reach only by rounding, but must be on the bar.
  const right = Math.max(raised, target, 0);
  const left = Math.max(lowered, -target, 0);
  const span = right + left || 1;
  const zero = left / span;
  let [up, down] = [zero, zero];
  const segments: Segment[] = [];
  parts.forEach(({ name, value }, order) => {
    const size = Math.abs(value) / span;
    if (size === 0) return;
    if (value > 0) {
      segments.push({ name, value, order, from: up, to: up + size });
      up += size;
    } else {
      segments.push({ name, value, order, from: down - size, to: down });
      down -= size;
    }
  });
  return { segments, zero, sum: zero + target / span };
}
