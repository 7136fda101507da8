// Runs before anything is drawn, so that no page flashes in the other theme; src/ui/useTheme.ts goes on.
(function () {
  var kept = null;
  try {
    kept = localStorage.getItem("lmscope-theme");
  } catch {
    // The browser keeps nothing for this page: the system's theme it is.
  }
  var dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
