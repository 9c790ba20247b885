// The user's key: stored in this tab, or on this device if the user wishes; never in a cookie or the page, and in the
// address only until it is read from a link that signs in.

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

/** Store the key of a link such as `/#key=ak_…` and remove it from the address; return whether there was one. */
export function storeFromAddress() {
  const key = /^#key=([\x21-\x7e]+)$/.exec(location.hash)?.[1];
  if (!key) return false;
  history.replaceState(null, "", location.pathname);
  store({ key, project: "" }, localStorage.getItem(NAME) !== null);
  return true;
}

export function forget() {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}
