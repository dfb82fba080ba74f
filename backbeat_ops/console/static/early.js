// Before anything is shown: the scheme that was chosen here, or else the system's.
(() => {
  const chosen = localStorage.getItem("scheme");
  if (chosen) document.documentElement.dataset.scheme = chosen;
})();

// What is asked for before htmx has seen the page waits for it: a browser would send the form by itself, as a question.
(() => {
  const waiting = new Map(); // one request an element, however often it is pressed
  function hold(event) {
    const asked = event.target.closest("[hx-get], [hx-post]");
    if (!asked || (asked.nodeName === "FORM") !== (event.type === "submit")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    waiting.set(asked, event.submitter);
  }
  addEventListener("submit", hold, true);
  addEventListener("click", hold, true);
  addEventListener("htmx:load", () => {
    removeEventListener("submit", hold, true);
    removeEventListener("click", hold, true);
    waiting.forEach((submitter, asked) => (asked.nodeName === "FORM" ? asked.requestSubmit(submitter) : asked.click()));
  }, { once: true });
})();
