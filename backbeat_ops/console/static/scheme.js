// Before anything is shown: the scheme that was chosen here, or else the system's.
(() => {
  const chosen = localStorage.getItem("scheme");
  if (chosen) document.documentElement.dataset.scheme = chosen;
})();
