import { useRef } from "react";
import { useLocation, useSearch } from "wouter";
import { useKeys } from "../ui/useKeys";

/** Searches all dictionaries; the search page keeps what kind of search was chosen there. */
export function SearchBox() {
  const input = useRef<HTMLInputElement>(null);
  const [path, navigate] = useLocation();
  const asked = new URLSearchParams(useSearch());
  const isHere = path === "/search";
  useKeys({
    "/": {
      does: "Search all dictionaries",
      run: () => {
        input.current?.focus();
        input.current?.select();
      },
    },
  });
  const submit = (event: React.FormEvent) => {
    event.preventDefault();
    const q = input.current?.value.trim();
    if (!q) return;
    const next = new URLSearchParams(isHere ? asked : undefined);
    next.set("q", q);
    navigate(`/search?${next}`);
  };
  return (
    <form className="search-box" role="search" onSubmit={submit}>
      <input
        ref={input}
        key={isHere ? asked.get("q") : ""}
        type="search"
        name="q"
        defaultValue={isHere ? (asked.get("q") ?? "") : ""}
        maxLength={500}
        placeholder="Search labels, or a latent’s number"
        aria-label="Search all dictionaries"
        aria-keyshortcuts="/"
        autoComplete="off"
        enterKeyHint="search"
        onKeyDown={(event) => event.key === "Escape" && input.current?.blur()}
      />
      <kbd aria-hidden="true">/</kbd>
    </form>
  );
}
