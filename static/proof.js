// A form that has to wait for a proof (blueprints/interrupted.py): a dialog asks for it over the page, which keeps what
// was typed. Then the form is sent again, once.

import { sayThat } from "./app.js";

let interrupted = null; // the form, and the button it was sent with

document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  const dialog = document.querySelector("#proof > dialog:not([open])");
  if (!dialog) return;
  if (!ctx.sourceElement.closest("#proof")) interrupted = { form: ctx.sourceElement, button: ctx.sourceEvent?.submitter };
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
});

// Given: the new session's CSRF token, and a number for the person, who may be somebody else by now.
document.addEventListener("proven", ({ detail }) => {
  if (detail.person !== document.body.dataset.person) return location.reload();
  takeToken(detail.csrf_token);
  const dialog = document.querySelector("#proof > dialog");
  if (!dialog) return sayThat("not-sent"); // it was closed while the proof was under way
  dialog.close();
  const { form, button } = interrupted;
  form.requestSubmit(button?.isConnected ? button : null);
});

// A token of an earlier session was sent: the next try has the right one.
document.addEventListener("csrf", ({ detail }) => takeToken(detail.csrf_token));

function takeToken(token) {
  for (const field of document.querySelectorAll("[name=csrf_token]")) field.value = token;
}
