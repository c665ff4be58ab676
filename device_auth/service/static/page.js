"use strict";
const main = document.querySelector("main");
const notice = document.getElementById("notice");
const lost = document.getElementById("lost");
let source, again, alarm, ends;

function count() {
  const place = document.getElementById("left");
  if (!place) return;
  const left = Math.max(0, Math.ceil((ends - performance.now()) / 1000));
  place.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0");
}

function countFrom(left) {
  ends = performance.now() + 1000 * left;
  count();
}

function tell(path) {
  navigator.sendBeacon(path, new Blob(["{}"], { type: "application/json" }));
}

function show(event) {
  const [left, told, ...drawn] = event.data.split("\n");
  if (notice.textContent !== told) notice.textContent = told;
  if (event.lastEventId !== main.dataset.sight) {
    main.innerHTML = drawn.join("\n");
    main.dataset.sight = event.lastEventId;
  }
  countFrom(Number(left));
}

function listen() {
  source = new EventSource("/events");
  source.onmessage = show;
  source.onopen = () => {
    clearTimeout(alarm);
    alarm = undefined;
    lost.textContent = "";
  };
  source.onerror = () => {
    alarm ??= setTimeout(() => { lost.textContent = lost.dataset.text; }, 5000);
    if (source.readyState === EventSource.CLOSED) again = setTimeout(listen, 5000);
  };
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(again);
  source?.close();
  if (document.visibilityState === "visible") {
    tell("/back");
    listen();
  }
});
main.addEventListener("click", event => {
  if (event.target.closest(".go")) tell("/left");
});
document.documentElement.className = "live";
document.querySelector("button")?.addEventListener("click", event => {
  const button = event.target, asked = button.textContent;
  tell("/identify");
  button.textContent = button.dataset.done;
  button.disabled = true;
  setTimeout(() => { button.textContent = asked; button.disabled = false; }, 10000);
});
if (performance.getEntriesByType("navigation")[0]?.type === "back_forward") tell("/back");
if (document.visibilityState === "visible") listen();
countFrom(Number(main.dataset.left));
setInterval(count, 1000);
