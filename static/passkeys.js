// Passkey ceremonies. A form with data-passkey="create" or "get" names in data-options where its options come from: on
// submit they are fetched, the browser is asked, its answer is put into the field `credential`, and the form goes its
// way, with htmx or without, as any other. All words are in the templates, keyed by what went wrong.

const PKC = window.PublicKeyCredential;
const supported = Boolean(PKC?.parseCreationOptionsFromJSON && PKC?.parseRequestOptionsFromJSON);
const ANSWER_WITHIN_MS = 15_000; // as htmx-config in base.html

// A browser answers one request at a time: what begins here ends what is pending, and so does leaving the page.
let pending = null;

async function alone(ceremony) {
  pending?.abort();
  const mine = (pending = new AbortController());
  try {
    await ceremony(mine.signal);
  } finally {
    if (pending === mine) pending = null;
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.passkey) return;
  if (form.dataset.ready) return void delete form.dataset.ready; // the second time: on its way to us
  event.preventDefault();
  event.stopImmediatePropagation(); // before htmx, which listens further down
  perform(form);
}, true);

async function perform(form) {
  const button = form.querySelector("button");
  say(form, "");
  button.disabled = true;
  form.setAttribute("aria-busy", "true");
  const error = await alone(async (signal) => {
    send(form, await ask(form, await optionsFor(form, signal), { signal }));
  }).then(() => null, (reason) => reason);
  button.disabled = false;
  form.removeAttribute("aria-busy");
  if (!error || error.name === "AbortError") return; // done, or stopped by another button, or by leaving
  say(form, wordsFor(form, error));
  button.focus(); // being disabled, it had lost it
  startAutofill();
}

async function optionsFor(form, signal) {
  let answer, body;
  try {
    answer = await fetch(form.dataset.options, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]),
    });
    body = await answer.json();
  } catch {
    signal.throwIfAborted();
    throw new DOMException("", "NetworkError"); // nobody answered, or only a proxy
  }
  if (body.location) return detour(body.location);
  if (!answer.ok) throw new DOMException(body.error, "Refused");
  return body;
}

// Signed out, or no longer fresh: prove it first, and come back to this page. Until then nothing more happens here.
function detour(path) {
  const url = new URL(path, location.href);
  url.searchParams.set("next", location.pathname + location.search);
  location.assign(url);
  return new Promise(() => {});
}

async function ask(form, options, extra) {
  const credential = form.dataset.passkey === "get"
    ? await navigator.credentials.get({ publicKey: PKC.parseRequestOptionsFromJSON(options), ...extra })
    : await navigator.credentials.create({ publicKey: PKC.parseCreationOptionsFromJSON(options), ...extra });
  return JSON.stringify(credential.toJSON());
}

function send(form, credential) {
  form.elements.credential.value = credential;
  form.dataset.ready = "yes";
  form.requestSubmit();
}

const WORDS = {
  NotAllowedError: "notAllowed",
  InvalidStateError: "alreadyRegistered",
  NotSupportedError: "notSupported",
  ConstraintError: "notSupported",
  NetworkError: "noAnswer",
};

function wordsFor(form, error) {
  return error.name === "Refused" ? error.message : status(form).dataset[WORDS[error.name] ?? "failed"];
}

function say(form, words) {
  status(form).textContent = words;
}

function status(form) {
  return form.querySelector("[role=status]");
}

// Passkeys among what the browser offers for the address field. The request waits until one is chosen, and is made
// anew before its challenge is too old. A page that nobody looks at does not wait.
async function startAutofill() {
  if (!autofillForm() || !supported || pending || document.hidden) return;
  try {
    await alone(async (signal) => {
      if (!(await PKC.isConditionalMediationAvailable?.())) return;
      const options = await optionsFor(autofillForm(), signal);
      const inTime = AbortSignal.any([signal, AbortSignal.timeout(options.timeout * 0.8)]);
      const credential = await ask(autofillForm(), options, { mediation: "conditional", signal: inTime });
      send(autofillForm(), credential); // htmx may have replaced the form meanwhile
    });
  } catch (error) {
    // Nothing stored here, stopped, or dismissed: nobody asked, so nothing is said.
    if (error.name === "TimeoutError") startAutofill();
  }
}

function autofillForm() {
  return document.querySelector("form[data-autofill]");
}

// After password and code: let a password manager make a passkey by itself, where the browser can do that.
async function upgrade() {
  const form = document.querySelector("form[data-upgrade]");
  const can = form && supported && (await PKC.getClientCapabilities?.())?.conditionalCreate;
  if (!can || (await looksSharedOrPrivate())) return;
  try {
    await alone(async (signal) => {
      send(form, await ask(form, await optionsFor(form, signal), { mediation: "conditional", signal }));
    });
  } catch {
    // It could not, or there is one already. Nobody asked for it, so nothing is said.
  }
}

// Shared: somebody else has signed in here. Private: no service workers, or next to no room for data.
async function looksSharedOrPrivate() {
  const { quota = Infinity } = (await navigator.storage?.estimate?.()) ?? {};
  return othersWereHere || !("serviceWorker" in navigator) || quota < 200e6;
}

const othersWereHere = rememberPerson(document.body.dataset.person);

function rememberPerson(person) {
  if (!person) return false;
  try {
    const others = JSON.parse(localStorage.getItem("people") ?? "[]").filter((other) => other !== person);
    localStorage.setItem("people", JSON.stringify([...others, person].slice(-5)));
    return others.length > 0;
  } catch {
    return false; // no storage, or not what we wrote
  }
}

async function warnOfSharedDevice() {
  const warning = document.querySelector("[data-shared-device]");
  if (warning) warning.hidden = !(await looksSharedOrPrivate());
}

// Where this device has no lock of its own to make a passkey with, the button for others comes first.
async function preferWhatIsThere() {
  const [first, second] = document.querySelectorAll("form[data-passkey=create]");
  if (!supported || first?.elements.kind.value !== "platform") return;
  if (await PKC.isUserVerifyingPlatformAuthenticatorAvailable()) return;
  second.after(first);
  for (const form of [first, second]) form.querySelector("button").classList.toggle("quiet", form === first);
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

// For a page that was loaded, and again for a part of it that htmx has put in.
function settle() {
  for (const form of document.querySelectorAll("form[data-passkey]")) form.hidden = !supported;
  for (const words of document.querySelectorAll("[data-without-passkeys]")) words.hidden = supported;
  preferWhatIsThere();
  warnOfSharedDevice();
  signal();
}

settle();
document.querySelector("form[data-passkey] [autofocus]")?.focus(); // hidden until now, it could not have it
upgrade();
document.addEventListener("htmx:after:swap", () => {
  settle();
  startAutofill();
});
addEventListener("pageshow", startAutofill);
addEventListener("pagehide", () => pending?.abort());
document.addEventListener("visibilitychange", startAutofill);
