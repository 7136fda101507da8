import { type ReactNode } from "react";
import { Link } from "wouter";

/** What every page stands in: the bar on top with search, theme and help, and the main part. */
export function Shell({ children }: { children: ReactNode }) {
  return (
    <>
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="bar">
        <Link href="/" className="brand">
          lmscope
        </Link>
        <nav aria-label="Pages">
          <Link href="/search">Search</Link>
          <Link href="/compare">Compare</Link>
          <Link href="/jobs">Jobs</Link>
        </nav>
      </header>
      <main id="main">{children}</main>
    </>
  );
}
