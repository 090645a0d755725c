// Keys for looking through results: ← → the neighbours, c the other picture, z zoom, 1 to 4 what it was.
"use strict";
(() => {
  const zoom = (link) => link.classList.toggle("whole");
  document.querySelectorAll(".zoom").forEach((link) =>
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      zoom(link);
    }));
  const follow = (selector) => document.querySelector(selector)?.click();
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest?.("input, select, textarea");
    if (field && field.type !== "radio") return;
    if (event.key === "ArrowLeft" && !field) follow('a[rel="prev"]');
    else if (event.key === "ArrowRight" && !field) follow('a[rel="next"]');
    else if (event.key === "c") follow("#other-picture");
    else if (event.key === "z") document.querySelectorAll(".zoom").forEach(zoom);
    else if (/^[1-4]$/.test(event.key)) {
      const choice = document.querySelectorAll('input[name="opinion"]')[Number(event.key) - 1];
      if (!choice) return;
      choice.checked = true;
      choice.focus();
    } else return;
    event.preventDefault();
  });
})();
