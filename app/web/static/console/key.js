// The user's key: in this tab, or on this device if asked to; never in a URL, a cookie or the page.

const NAME = "ambient-console";

/** `{key, project}`, or null. */
export function stored() {
  for (const store of [sessionStorage, localStorage]) {
    try {
      const found = JSON.parse(store.getItem(NAME));
      if (typeof found?.key === "string") return found;
    } catch {
      store.removeItem(NAME);
    }
  }
  return null;
}

export function keep(credentials, onDevice) {
  forget();
  (onDevice ? localStorage : sessionStorage).setItem(NAME, JSON.stringify(credentials));
}

export function forget() {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}
