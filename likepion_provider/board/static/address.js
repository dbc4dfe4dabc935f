// What is shown stands in the address: of Airflow's own page, where the board is in its frame.

const FILTERS = ["text", "standing", "domain", "group_id", "account_id", "run_id", "map_index", "reason"];
const STARTS = { sort: "updated_at", descending: "true", page: "1", days: "30", platform: "" };

const top = window.parent === window ? window : window.parent;

export const NONE = Object.fromEntries(FILTERS.map((name) => [name, ""]));
export const filter = { ...NONE };
export const view = { ...STARTS };
// Whose rows are shown: what the address says, else what the board answers.
export const shown = { manager: "", dag_id: "" };
let several = false;

/** Whether the address has to name the manager. */
export function manySites(are) { several = are; }

/** Take over what the address says. */
export function read() {
  const given = new URLSearchParams(top.location.search);
  for (const name of FILTERS) filter[name] = given.get(name) ?? "";
  for (const name of Object.keys(STARTS)) view[name] = given.get(name) ?? STARTS[name];
  if (!(Number(view.page) >= 1)) view.page = "1";
  if (!["7", "30", "90"].includes(view.days)) view.days = STARTS.days;
  for (const name of Object.keys(shown)) if (given.get(name) !== null) shown[name] = given.get(name);
}

/** Put what is shown into the address, as a new step that Back takes back. */
export function write() {
  const all = { ...filter, ...view, ...(several ? shown : {}) };
  const said = Object.entries(all).filter(([name, value]) => value !== (STARTS[name] ?? ""));
  const query = new URLSearchParams(said).toString();
  const address = `${top.location.pathname}${query ? `?${query}` : ""}`;
  if (address === `${top.location.pathname}${top.location.search}`) return;
  // Airflow's router counts its steps in the state.
  const state = top.history.state;
  top.history.pushState(state && "idx" in state ? { ...state, idx: state.idx + 1 } : state, "", address);
}

/** Call back when somebody goes back or forward. */
export function onReturn(callback) {
  top.addEventListener("popstate", callback);
  window.addEventListener("pagehide", () => top.removeEventListener("popstate", callback));
}
