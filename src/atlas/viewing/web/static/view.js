/* Keys and buttons of the viewer's pages, and of the static page. Everything can be read without it.
   Data only ever becomes text: nothing here writes HTML. */
(() => {
  "use strict";
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const isShown = (element) => element.getClientRects().length > 0;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const WRITES = "input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select, [contenteditable]";
  const ACTS = "a[href], button, summary, label, input, select, textarea";

  const view = () => all("[data-view]").find(isShown) ?? null;
  const steps = () => (view() ? all(".step", view()).filter(isShown) : []);
  let here = null;

  const say = (text) => {
    const status = find("#status");
    if (status) status.textContent = text;
  };

  /* The step that has the focus, or the last one that had it, or the first one in sight. */
  const current = () => {
    const focused = document.activeElement?.closest?.(".step");
    if (focused) return focused;
    const shown = steps();
    if (here && document.contains(here) && shown.includes(here)) return here;
    return null;
  };

  const markCell = (step) => {
    for (const cell of all(".cell.is-here")) {
      cell.classList.remove("is-here");
      cell.removeAttribute("aria-current");
    }
    const cell = all(".cell").find((each) => each.hash === `#${step.id}`);
    if (!cell) return;
    cell.classList.add("is-here");
    cell.setAttribute("aria-current", "step");
    const strip = cell.parentElement;
    strip.scrollTo({
      top: cell.offsetTop - strip.offsetTop - strip.clientHeight / 2,
      left: cell.offsetLeft - strip.offsetLeft - strip.clientWidth / 2,
    });
  };

  const settle = (step) => {
    for (const each of all(".step.is-here")) if (each !== step) each.classList.remove("is-here");
    here = step;
    step.classList.add("is-here");
    markCell(step);
  };

  const goTo = (step) => {
    if (!step) return;
    const only = find("[data-only-critical]", step.closest("[data-view]") ?? document);
    if (!isShown(step) && only?.checked) only.checked = false;
    settle(step);
    step.focus({ preventScroll: true });
    step.scrollIntoView({ block: "start", behavior: calm.matches ? "auto" : "smooth" });
    history.replaceState(history.state, "", `#${step.id}`);
  };

  const inSight = () => steps().find((step) => step.getBoundingClientRect().bottom > 80);

  const move = (by) => {
    const shown = steps();
    const from = shown.indexOf(current());
    if (from < 0) {
      const seen = inSight() ?? shown[0];
      goTo(seen);
      return shown.length > 0;
    }
    const next = shown[from + by];
    if (next) goTo(next);
    return true;
  };

  /* Links of a list take the focus with j, k and the arrows. */
  const moveInList = (by) => {
    const links = all("[data-row] a[href], .rows a.open[href]").filter(isShown);
    if (!links.length) return false;
    const from = links.indexOf(document.activeElement);
    const next = links[from < 0 ? (by > 0 ? 0 : links.length - 1) : from + by];
    next?.focus();
    return true;
  };

  const goToTrajectory = (name) => {
    const link = find(`[data-go="${name}"]`, view() ?? document) ?? find(`[data-go="${name}"]`);
    if (link && isShown(link)) {
      link.click();
      return true;
    }
    if (!view()) return moveInList(name === "next" ? 1 : -1);
    say(name === "next" ? "This is the last trajectory." : "This is the first trajectory.");
    return true;
  };

  /* A control says which key it has: that of the step at hand, or one outside of all steps. */
  const useControl = (key) => {
    const named = `[data-key="${key}"]`;
    const step = current() ?? inSight();
    const control = (step && find(named, step)) ?? all(named).find((each) => !each.closest(".step"));
    if (!control || control.disabled) return false;
    if (step?.contains(control) && step !== here) settle(step);
    const closed = control.closest("details:not([open])");
    if (closed) closed.open = true;
    if (control.matches(WRITES)) {
      control.focus();
      control.select?.();
    } else control.click();
    return true;
  };

  const expand = () => {
    const root = view();
    if (!root) return false;
    const button = find("[data-expand]", root);
    const open = button ? button.getAttribute("aria-pressed") !== "true" : true;
    for (const each of all("details", find(".trajectory", root) ?? root)) each.open = open;
    button?.setAttribute("aria-pressed", String(open));
    say(open ? "All is expanded." : "All is collapsed.");
    return true;
  };

  const onlyCritical = () => {
    const box = view() && find("[data-only-critical]", view());
    if (!box || box.disabled) return false;
    box.checked = !box.checked;
    box.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };

  const nextDispute = () => {
    const links = view() ? all("[data-dispute]", view()) : [];
    if (!links.length) return false;
    const at = links.findIndex((link) => link.hash === `#${current()?.id}`);
    const link = links[(at + 1) % links.length];
    goTo(document.getElementById(link.hash.slice(1)));
    say(`Step ${link.textContent.trim()}: ${link.title}.`);
    return true;
  };

  const write = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      /* A file opened from the disk may not use the clipboard's interface. */
      const field = document.createElement("textarea");
      field.value = text;
      field.className = "unseen";
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      if (!done) throw new Error("the browser refused");
    }
  };

  const copy = () => {
    const root = view();
    if (!root) return false;
    const kept = find("[data-markdown-text]", root);
    const text = kept
      ? Promise.resolve(kept.value)
      : fetch(root.dataset.markdown).then((answer) => {
          if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
          return answer.text();
        });
    const focused = document.activeElement;
    text.then(write).then(
      () => say("Copied as Markdown."),
      (error) => say(`Not copied: ${error.message}.`),
    ).finally(() => focused?.focus?.({ preventScroll: true }));
    return true;
  };

  const help = () => {
    const dialog = find("#help");
    if (!dialog) return false;
    dialog.togglePopover();
    return true;
  };

  const search = () => {
    const field = all("[data-search], input[type=search]").find(isShown);
    if (field) {
      field.focus();
      field.select();
      return true;
    }
    const list = find('[data-go="list"]');
    if (!list) return false;
    const address = new URL(list.href);
    address.hash = "search";
    location.assign(address);
    return true;
  };

  const arrow = (by) => {
    if (view()) return move(by);
    return moveInList(by);
  };

  const KEYS = {
    j: () => goToTrajectory("next"),
    k: () => goToTrajectory("previous"),
    ArrowDown: () => arrow(1),
    ArrowRight: () => view() && move(1),
    ArrowUp: () => arrow(-1),
    ArrowLeft: () => view() && move(-1),
    " ": () => useControl("space"),
    0: () => useControl("0"),
    1: () => useControl("1"),
    2: () => useControl("2"),
    3: () => useControl("3"),
    4: () => useControl("4"),
    r: () => useControl("r"),
    u: () => useControl("u"),
    f: () => useControl("f"),
    n: () => useControl("n"),
    c: onlyCritical,
    d: nextDispute,
    e: expand,
    y: copy,
    "/": search,
    "?": help,
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (event.key === "Escape") {
      if (!target.matches(WRITES)) return;
      const step = target.closest(".step");
      if (step) step.focus({ preventScroll: true });
      else target.blur();
      return;
    }
    if (target.closest(WRITES)) return;
    const isOpen = Boolean(find("#help:popover-open"));
    if (isOpen && event.key !== "?") return;
    /* Space presses the button that has the focus. */
    if (event.key === " " && target.closest(ACTS)) return;
    if (Object.hasOwn(KEYS, event.key) && KEYS[event.key]()) event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    if (target.closest("[data-expand]")) expand();
    else if (target.closest("[data-copy]")) copy();
    else if (target.closest("[data-next-dispute]")) nextDispute();
  });

  document.addEventListener("focusin", (event) => {
    const step = event.target.closest?.(".step");
    if (step && step !== here) settle(step);
  });

  /* A link to a step opens what hides it. */
  const follow = () => {
    let target = null;
    try {
      target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    } catch {
      return;
    }
    if (!target) return;
    const step = target.closest(".step");
    for (let each = target.closest("details"); each; each = each.parentElement?.closest("details")) each.open = true;
    if (step && step === target) goTo(step);
    else if (step) settle(step);
    else if (target.id === "search") target.focus();
  };

  /* The static page shows one of its trajectories at a time, and filters their list. */
  const parts = all("[data-part]");
  const showPart = () => {
    const id = location.hash.slice(1);
    const part = parts.find((each) => each.id === id || (id && each.contains(document.getElementById(id))));
    for (const each of parts) each.hidden = each !== part;
    const list = find("[data-parts]");
    if (list) list.hidden = Boolean(part);
    if (part && part.id === id) scrollTo(0, 0);
  };
  const filter = find("[data-filter]");
  filter?.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of all("[data-parts] [data-row]")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    say(`${shown} shown`);
  });
  const arrive = () => {
    if (parts.length) showPart();
    if (location.hash) follow();
  };
  addEventListener("hashchange", arrive);
  arrive();
})();
