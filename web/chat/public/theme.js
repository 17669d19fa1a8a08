// Before the first paint, so that a chosen theme does not flash. A file of its own: inline scripts
// need a weaker policy.
try {
  const theme = JSON.parse(localStorage.getItem("peregrine.settings") ?? "{}").theme;
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's theme.
}
