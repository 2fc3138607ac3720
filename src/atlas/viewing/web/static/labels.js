// What the controls of labels need beyond htmx: where the space key is, and what was not saved.

// Space takes a critical step out of the critical ones, and any other step into them.
function moveSpace(choices) {
  const chosen = choices.querySelector("input:checked");
  const isCritical = chosen !== null && chosen.value !== "none";
  for (const input of choices.querySelectorAll('[value="none"], [value="critical"]')) {
    if ((input.value === "none") === isCritical) input.dataset.key = "space";
    else delete input.dataset.key;
  }
}

document.addEventListener("change", (event) => {
  const choices = event.target.closest(".choices");
  if (choices !== null) moveSpace(choices);
});

// A browser keeps what was chosen when a page is loaded again.
for (const choices of document.querySelectorAll(".choices")) moveSpace(choices);

for (const failure of ["htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(failure, (event) => {
    const { elt, xhr } = event.detail;
    const saved = elt.closest(".labeling")?.querySelector(".saved");
    const reason = xhr?.status ? `the viewer answered ${xhr.status}` : "the viewer does not answer";
    const text = `Not saved: ${reason}. Load the page again.`;
    if (saved) {
      saved.textContent = text;
      saved.classList.add("failed");
    }
    const status = document.getElementById("status");
    if (status !== null) status.textContent = text;
  });
}
