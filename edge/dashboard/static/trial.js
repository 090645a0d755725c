// Pictures that are dropped are sent at once; while they are inspected the page says so.
"use strict";
(() => {
  const form = document.getElementById("drop");
  if (!form) return;
  const pictures = document.getElementById("pictures");
  const folder = document.getElementById("folder");
  const over = (event) => { event.preventDefault(); form.classList.add("over"); };
  form.addEventListener("dragenter", over);
  form.addEventListener("dragover", over);
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    if (!event.dataTransfer?.files.length) return;
    pictures.files = event.dataTransfer.files;
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    if (!pictures.files.length && !folder.files.length) { event.preventDefault(); pictures.focus(); return; }
    document.getElementById("busy").hidden = false;
    form.querySelector("button").disabled = true;
  });
  addEventListener("pageshow", () => {
    document.getElementById("busy").hidden = true;
    form.querySelector("button").disabled = false;
  });
})();
