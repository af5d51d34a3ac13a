// What htmx and the browser do not do by themselves: saying that nobody answered, copying, and pages from the past.

// No connection, no answer in time (both are htmx:error), or an answer that is not ours but a proxy's (502, 504).
// The sentence takes the place of any other notice, and goes when the next request begins.
const notice = () => document.getElementById("notice");
document.addEventListener("htmx:before:request", () => notice().replaceChildren());
document.addEventListener("htmx:error", sayThatNobodyAnswered);
document.addEventListener("htmx:response:error", (event) => {
  if ([502, 504].includes(event.detail.ctx.response.status)) sayThatNobodyAnswered();
});

function sayThatNobodyAnswered() {
  notice().replaceChildren(document.getElementById("no-answer").content.cloneNode(true));
  notice().firstElementChild.focus();
}

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
