// The numbers of the outbox as they change. Without this script the page shows them as they were when it was loaded.
"use strict";

const numbers = document.getElementById("numbers");
const state = document.getElementById("state");
const events = new EventSource(numbers.dataset.events);

events.addEventListener("backlog", (event) => {
  const backlog = JSON.parse(event.data);
  for (const cell of numbers.querySelectorAll("[data-number]")) {
    cell.textContent = String(backlog[cell.dataset.number]);
  }
  state.textContent = backlog.pending === 0 ? "Live. The index is up to date." : "Live. The index is being brought up to date.";
});

events.addEventListener("error", () => {
  state.textContent = "The connection is lost; trying again.";
});

window.addEventListener("pagehide", () => events.close());
