import { Link } from "wouter";

export default function MissingPage() {
  return (
    <>
      <h1>There is no such page</h1>
      <p>
        The address may be of another version. <Link href="/">Back to the start</Link>
      </p>
    </>
  );
}
