// What htmx and the browser do not do by themselves: saying that nobody answered, copying, saving, printing, and pages
// from the past.

// No connection, no answer in time (both are htmx:error), or an answer that is not ours but a proxy's (502, 504).
// The sentence takes the place of any other notice, and goes when the next request begins.
const notice = () => document.getElementById("proof-notice") ?? document.getElementById("notice");
document.addEventListener("htmx:before:request", () => notice().replaceChildren());
document.addEventListener("htmx:error", () => sayThat("no-answer"));
document.addEventListener("htmx:response:error", (event) => {
  if ([502, 504].includes(event.detail.ctx.response.status)) sayThat("no-answer");
});

// What the template with this id has to say.
export function sayThat(id) {
  notice().replaceChildren(document.getElementById(id).content.cloneNode(true));
  notice().firstElementChild.focus();
}

// A page with a secret, or of somebody who has signed out since, is not shown again from memory.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// The answer to a second click would take the place of the first one, which cannot be shown again.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => { form.querySelector("button").disabled = true; });
}

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

// The file is made here, of what the page shows: the server does not have the codes any more.
for (const box of document.querySelectorAll("[data-download-of]")) {
  box.hidden = false;
  box.querySelector("button").addEventListener("click", () => {
    const text = document.getElementById(box.dataset.downloadOf).innerText + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = box.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);  // some browsers read it after the click
  });
}

for (const box of document.querySelectorAll("[data-print]")) {
  box.hidden = false;
  box.querySelector("button").addEventListener("click", () => print());
}
