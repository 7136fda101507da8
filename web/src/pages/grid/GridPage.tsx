export default function GridPage({ kind, id }: { kind: "suites" | "models"; id: string }) {
  return (
    <h1>
      {kind} {id}
    </h1>
  );
}
