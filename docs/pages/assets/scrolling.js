// What scrolls sideways in a narrow window is reached by the keyboard too: tables and equations.
"use strict";
addEventListener("load", () => {
  document.querySelectorAll(".md-typeset__scrollwrap, math[display=block]").forEach((one) => {
    one.setAttribute("tabindex", "0");
  });
});
