// What the pages do by themselves: follow what changes, switch between dark and light, take files that are dropped.
"use strict";

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return (root.dataset.scheme || (system.matches ? "dark" : "light")) === "dark";
}

function nameSwitch() {
  document.getElementById("scheme").textContent = isDark() ? "Light" : "Dark";
}

document.addEventListener("click", (event) => {
  if (event.target.id !== "scheme") return;
  root.dataset.scheme = isDark() ? "light" : "dark";
  localStorage.setItem("scheme", root.dataset.scheme);
  nameSwitch();
});
system.addEventListener("change", nameSwitch);
nameSwitch();

// Make one tree like another and keep the elements that stay, so that they move, keep the focus, and stay open.
function become(old, next) {
  if (old.nodeName !== next.nodeName) {
    old.replaceWith(next.cloneNode(true));
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || old.hasAttribute("data-keep")) return;
  for (const { name } of [...old.attributes]) {
    const mine = name === "open" && old.nodeName === "DETAILS";
    if (!mine && !next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const idOf = (child) => child.nodeType === Node.ELEMENT_NODE && child.getAttribute("id"); // a form's id may be a field
  const free = [...old.childNodes].filter((child) => !idOf(child));
  const named = new Map([...old.children].filter(idOf).map((child) => [idOf(child), child]));
  const wanted = [...next.childNodes].map((child) => {
    let found = named.get(idOf(child));
    if (!idOf(child)) {
      const place = free.findIndex((other) => other.nodeName === child.nodeName);
      if (place >= 0) found = free.splice(0, place + 1)[place];
    }
    return [found || child.cloneNode(true), found && child];
  });
  const stay = new Set(wanted.map(([child]) => child));
  [...old.childNodes].filter((child) => !stay.has(child)).forEach((child) => child.remove());
  let place = old.firstChild;
  for (const [child, like] of wanted) {
    if (child === place) place = place.nextSibling;
    else old.insertBefore(child, place);
    if (like) become(child, like);
  }
}

const main = document.getElementById("content");
if (main.dataset.live) {
  const lost = document.getElementById("link");
  const events = new EventSource(main.dataset.live);
  events.addEventListener("page", (event) => {
    const next = document.createElement("main");
    next.innerHTML = event.data;
    const now = document.createElement("main");
    for (const { name, value } of main.attributes) now.setAttribute(name, value);
    now.append(...next.childNodes);
    become(main, now);
    lost.hidden = true;
    htmx.process(main);
  });
  events.addEventListener("fault", (event) => {
    lost.textContent = event.data;
    lost.hidden = false;
  });
  events.onopen = () => { lost.hidden = true; };
  events.onerror = () => {
    lost.textContent = "The console does not answer; this is how it was.";
    lost.hidden = false;
  };
  addEventListener("pagehide", () => events.close());
}

// What is answered to a button is seen, on a phone too, where it may lie below the screen's end.
document.addEventListener("htmx:afterSettle", (event) => {
  const place = event.detail.target;
  if (event.detail.requestConfig.verb === "post" && place.hasAttribute("aria-live")) {
    place.scrollIntoView({ block: "nearest" });
  }
});

document.querySelectorAll("[data-drop]").forEach((place) => {
  const input = place.querySelector("input[type=file]");
  const said = place.querySelector("[role=status]");
  async function send(file) {
    said.textContent = `${file.name} is on its way`;
    const address = `${place.dataset.drop}?name=${encodeURIComponent(file.name)}`;
    const headers = JSON.parse(document.body.getAttribute("hx-headers"));
    try {
      const answer = await fetch(address, { method: "POST", body: file, headers });
      const told = await answer.json();
      if (told.to) location.assign(told.to);
      else said.textContent = told.said;
    } catch {
      said.textContent = "It did not arrive: the console does not answer.";
    }
  }
  input.addEventListener("change", () => input.files.length && send(input.files[0]));
  for (const kind of ["dragenter", "dragover"]) {
    place.addEventListener(kind, (event) => { event.preventDefault(); place.classList.add("over"); });
  }
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
});
