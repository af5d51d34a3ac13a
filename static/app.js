// What htmx and the browser do not do by themselves: focus, copying, and pages that come back from the past.

// After a swap, the answer gets the focus, so that keyboard and screen reader are where the news is.
document.addEventListener("htmx:after:swap", () => {
  const invalid = document.querySelector("[aria-invalid=true]");
  const target = document.querySelector("[data-focus]") ?? invalid;
  target?.removeAttribute("data-focus");
  target?.focus();
});

// A page with a secret, or of somebody who has signed out since, is not shown again from memory.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

for (const box of document.querySelectorAll("[data-copy-of]")) {
  const source = document.getElementById(box.dataset.copyOf);
  if (!navigator.clipboard) continue;
  box.hidden = false;
  box.querySelector("button").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent.replaceAll(" ", ""));
      box.querySelector("[role=status]").textContent = "Copied.";
    } catch {
      box.querySelector("[role=status]").textContent = "Copying was not allowed. Select the text instead.";
    }
  });
}
