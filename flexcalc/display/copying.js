// The button of every .copy puts the text next to it on the clipboard. No library.
"use strict";
document.querySelectorAll(".copy").forEach((box) => {
  const text = box.querySelector("textarea"), button = box.querySelector("button");
  const say = (word) => {
    button.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  };
  button.addEventListener("click", async () => {
    text.select();
    try {
      await navigator.clipboard.writeText(text.value);
      say("Copied");
    } catch {
      // A browser may keep the clipboard from a page of a file; the older way, then by hand.
      say(document.execCommand("copy") ? "Copied" : "Press Ctrl+C");
    }
  });
});
