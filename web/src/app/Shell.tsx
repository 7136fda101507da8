import { type ReactNode, useRef } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { useKeys } from "../ui/useKeys";
import { HelpButton } from "./HelpButton";
import { SearchBox } from "./SearchBox";
import { ThemeButton } from "./ThemeButton";
import { useHeading } from "./useHeading";
import "./Shell.css";

const PAGES = [
  { href: "/", title: "Home", key: "g h" },
  { href: "/search", title: "Search", key: "g s" },
  { href: "/graphs", title: "Graphs", key: "g g" },
  { href: "/compare", title: "Compare", key: "g c" },
  { href: "/jobs", title: "Jobs", key: "g j" },
] as const;

/** What every page stands in: the bar on top with search, theme and help, and the main part. */
export function Shell({ children }: { children: ReactNode }) {
  const main = useRef<HTMLElement>(null);
  const [path, navigate] = useLocation();
  const embedded = new URLSearchParams(useSearch()).get("embed") === "1";
  useHeading(main, path);
  useKeys(
    Object.fromEntries(
      PAGES.map(({ href, title, key }) => [
        key,
        { does: `Go to ${title.toLowerCase()}`, run: () => navigate(href) },
      ]),
    ),
  );
  if (embedded) return <main ref={main}>{children}</main>;
  return (
    <>
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="bar">
        <Link href="/" className="brand">
          <img src="/icon.svg" alt="" width="22" height="22" /> lmscope
        </Link>
        <nav aria-label="Pages">
          {PAGES.slice(1).map(({ href, title }) => (
            <Link key={href} href={href} aria-current={path === href ? "page" : undefined}>
              {title}
            </Link>
          ))}
        </nav>
        <SearchBox />
        <div className="bar-tools">
          <ThemeButton />
          <HelpButton />
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {children}
      </main>
    </>
  );
}
