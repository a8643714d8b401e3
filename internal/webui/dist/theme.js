// Runs before the first paint, so that a chosen theme and language are there at once.
try {
  var root = document.documentElement
  var theme = localStorage.getItem('pbx.theme')
  if (theme === 'light' || theme === 'dark') root.dataset.theme = theme
} catch (e) {
  // No storage: the system's theme it is.
}
