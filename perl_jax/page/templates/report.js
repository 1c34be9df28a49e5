"use strict";
// Filters of the groups, and arrow keys in their list. Without this script all groups are shown.
const groups = [...document.querySelectorAll(".group")];
const control = (id) => document.getElementById(id);
const choices = ["step", "source", "outcome", "kind"];
const controls = [...choices.map((name) => control(`of-${name}`)), control("reward-from"), control("reward-to")];

function fits(group) {
  const { reward } = group.dataset;
  const from = control("reward-from").value, to = control("reward-to").value;
  // A group without a grade has no reward, and is in no range.
  if ((from !== "" || to !== "") && reward === "") return false;
  if (from !== "" && Number(reward) < Number(from)) return false;
  if (to !== "" && Number(reward) > Number(to)) return false;
  return choices.every((name) => {
    const wanted = control(`of-${name}`).value;
    return wanted === "" || wanted === group.dataset[name];
  });
}

function apply() {
  for (const group of groups) group.hidden = !fits(group);
  const shown = groups.filter((group) => !group.hidden).length;
  control("shown").textContent = `${shown} of ${groups.length} groups`;
}

function move(event) {
  const titles = groups.filter((group) => !group.hidden).map((group) => group.firstElementChild);
  const place = titles.indexOf(document.activeElement);
  const target = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: titles.length - 1 }[event.key];
  if (place < 0 || target === undefined) return;
  event.preventDefault();
  titles[Math.min(Math.max(target, 0), titles.length - 1)].focus();
}

if (groups.length) {
  for (const one of controls) one.addEventListener("input", apply);
  control("reset").addEventListener("click", () => {
    for (const one of controls) one.value = "";
    apply();
  });
  control("groups").addEventListener("keydown", move);
  groups[0].open = true;
  // A browser may keep what was chosen when it loads the page again.
  apply();
}
