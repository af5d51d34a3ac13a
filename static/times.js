// Times are written in UTC. Here they are said in the visitor's own time zone and language.

const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function localise() {
  for (const time of document.querySelectorAll("time[datetime]:not([title])")) {
    time.title = time.textContent;
    time.lang = format.resolvedOptions().locale; // the page is in English: screen readers have to be told
    time.textContent = format.format(new Date(time.dateTime));
  }
}

localise();
document.addEventListener("htmx:after:swap", localise);
