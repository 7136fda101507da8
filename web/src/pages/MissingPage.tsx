import { Link, useLocation } from "wouter";

/** An address that no page has. */
export default function MissingPage() {
  const [path] = useLocation();
  return (
    <>
      <h1>There is no such page</h1>
      <p>
        Nothing is at <code className="address">{path}</code>.
      </p>
      <p>
        <Link href="/">Home</Link> lists all models, suites, dictionaries and runs;{" "}
        <Link href="/search">Search</Link> finds features by label, token or text.
      </p>
    </>
  );
}
