// Says when the console itself no longer answers, and brings the page back once it does: its own figures never would.
"use strict";
(function () {
  const LATE = 20000, AGAIN = 2000, NOT_TWICE_IN = 30000; // milliseconds
  const ask = window.fetch.bind(window);
  let lostAt = 0, leaving = false;
  window.addEventListener("beforeunload", () => { leaving = true; });

  function say(text) {
    const place = document.getElementById("connection");
    if (!place || place.textContent === text) return;
    place.textContent = text;
    place.hidden = !text;
  }
  function clock(at) { return new Date(at).toLocaleTimeString("en-GB"); }

  function lost() {
    if (lostAt || leaving) return;
    lostAt = Date.now();
    look();
  }
  // The answer that did not come is missing somewhere on the page: it is loaded anew, with the address as it is.
  async function look() {
    let answers = false;
    try {
      answers = (await ask("/health", { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
    } catch { /* nobody there: said below */ }
    const before = Number(window.sessionStorage.getItem("reloaded") || 0);
    if (answers && Date.now() - before > NOT_TWICE_IN) {
      window.sessionStorage.setItem("reloaded", String(Date.now()));
      window.location.reload();
      return;
    }
    say("The console has not answered since " + clock(lostAt) + ": what is shown is older. It is asked again by itself.");
    window.setTimeout(look, AGAIN);
  }

  window.fetch = async function (...asked) {
    const late = window.setTimeout(() => {
      if (!lostAt) say("The console has owed an answer since " + clock(Date.now() - LATE) + ": what is shown is older.");
    }, LATE);
    try {
      const answer = await ask(...asked);
      if (!lostAt) {
        say(answer.status < 400 ? ""
          : "The console refused an answer at " + clock(Date.now()) + " (status " + answer.status + "): what is shown is older.");
      }
      return answer;
    } catch (error) {
      if (error.name !== "AbortError") lost();
      throw error;
    } finally {
      window.clearTimeout(late);
    }
  };
})();
