// The user's key: stored in this tab, or on this device if the user wishes; never in a URL, a cookie or the page.

const NAME = "ambient-console";

/** Return `{key, project}`, or null. */
export function stored() {
  for (const storage of [sessionStorage, localStorage]) {
    try {
      const found = JSON.parse(storage.getItem(NAME));
      if (typeof found?.key === "string") return found;
    } catch {
      storage.removeItem(NAME);
    }
  }
  return null;
}

export function store(credentials, onDevice) {
  forget();
  (onDevice ? localStorage : sessionStorage).setItem(NAME, JSON.stringify(credentials));
}

export function forget() {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}
