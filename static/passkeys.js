// Passkey ceremonies. A form with data-passkey="create" or "get" names in data-options where its options come from: on
// submit they are fetched, the browser is asked, what it made is put into the field `credential`, and the form goes its
// way (htmx or not) as any other. All words are in the templates, keyed by what went wrong.

const PKC = window.PublicKeyCredential;
const supported = Boolean(PKC?.parseCreationOptionsFromJSON && PKC?.parseRequestOptionsFromJSON);
let autofill = null; // AbortController of the request that waits behind the address field

async function optionsFor(form) {
  const answer = await fetch(form.dataset.options, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: new URLSearchParams(new FormData(form)),
  });
  const body = await answer.json();
  if (body.location) location.assign(body.location); // signed out, or no longer fresh
  if (!answer.ok) throw new DOMException("no options", "Failed");
  return body;
}

async function ceremony(form, extra = {}) {
  const creates = form.dataset.passkey !== "get";
  const options = await optionsFor(form);
  const credential = creates
    ? await navigator.credentials.create({ publicKey: PKC.parseCreationOptionsFromJSON(options), ...extra })
    : await navigator.credentials.get({ publicKey: PKC.parseRequestOptionsFromJSON(options), ...extra });
  form.elements.credential.value = JSON.stringify(credential.toJSON());
}

const WORDS = {
  NotAllowedError: "notAllowed",
  AbortError: "notAllowed",
  InvalidStateError: "alreadyRegistered",
  NotSupportedError: "notSupported",
  ConstraintError: "notSupported",
};

function say(form, error) {
  const status = form.querySelector("[role=status]");
  status.textContent = error ? status.dataset[WORDS[error.name] ?? "failed"] : "";
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.passkey || form.dataset.ready) return void delete form.dataset.ready;
  event.preventDefault();
  event.stopImmediatePropagation(); // before htmx, which listens further down
  const button = form.querySelector("button");
  stopAutofill();
  say(form, null);
  button.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    await ceremony(form);
    form.dataset.ready = "";
    form.requestSubmit();
  } catch (error) {
    say(form, error);
    startAutofill();
  } finally {
    button.disabled = false;
    form.removeAttribute("aria-busy");
    if (!form.elements.credential.value) button.focus();
  }
}, true);

async function startAutofill() {
  const form = document.querySelector("form[data-autofill]");
  if (!form || autofill || !supported) return;
  const mine = (autofill = new AbortController());
  try {
    if (!(await PKC.isConditionalMediationAvailable?.())) return;
    await ceremony(form, { mediation: "conditional", signal: mine.signal });
    form.dataset.ready = "";
    form.requestSubmit();
  } catch {
    // Nothing stored here, stopped, or dismissed: nobody asked, so nothing is said.
  } finally {
    if (autofill === mine) autofill = null;
  }
}

function stopAutofill() {
  autofill?.abort();
  autofill = null;
}

// After password and code: let a password manager make a passkey by itself, where the browser can do that.
async function upgrade() {
  const form = document.querySelector("form[data-upgrade]");
  const can = form && supported && (await PKC.getClientCapabilities?.())?.conditionalCreate;
  if (!can) return;
  try {
    await ceremony(form, { mediation: "conditional" });
    form.requestSubmit();
  } catch {
    // It could not, or there is one already. Nobody asked for it, so nothing is said.
  }
}

// Tell the authenticators which passkeys are still good here, and what the person is called.
const SIGNALS = ["signalUnknownCredential", "signalAllAcceptedCredentials", "signalCurrentUserDetails"];

function signal() {
  for (const element of document.querySelectorAll("[data-signal]")) {
    const { signal: method, args } = element.dataset;
    if (SIGNALS.includes(method)) PKC?.[method]?.(JSON.parse(args)).catch(() => {});
    element.remove();
  }
}

// Looks shared: somebody else has been here. Looks private: no service workers, or next to no room for data.
async function warnOfSharedDevice() {
  const warning = document.querySelector("[data-shared-device]");
  if (!warning) return;
  let seen = [];
  try {
    seen = JSON.parse(localStorage.getItem("people") ?? "[]");
    if (!seen.includes(warning.dataset.sharedDevice)) {
      localStorage.setItem("people", JSON.stringify([...seen, warning.dataset.sharedDevice].slice(-5)));
    }
  } catch {
    // No storage is what a private window may look like; the questions below decide.
  }
  const others = seen.some((person) => person !== warning.dataset.sharedDevice);
  const { quota = Infinity } = (await navigator.storage?.estimate?.()) ?? {};
  warning.hidden = !(others || !("serviceWorker" in navigator) || quota < 200e6);
}

function settle() {
  for (const form of document.querySelectorAll("form[data-passkey]")) form.hidden = !supported;
  for (const words of document.querySelectorAll("[data-without-passkeys]")) words.hidden = supported;
  signal();
}

settle();
warnOfSharedDevice();
upgrade();
document.addEventListener("htmx:after:swap", () => {
  settle();
  startAutofill();
});
addEventListener("pageshow", startAutofill);
addEventListener("pagehide", stopAutofill);
