/** Two spellings of a path as one: without empty and `.` steps, with `..` taken back where there is a step before it. Text only; no disk is asked. */
export function plainPath(path: string): string {
  const root = path.startsWith("/") ? "/" : "";
  const steps: string[] = [];
  for (const step of path.split("/")) {
    if (step === "" || step === ".") continue;
    if (step === ".." && steps.length > 0 && steps.at(-1) !== "..") steps.pop();
    else if (step !== ".." || root === "") steps.push(step);
  }
  return root + steps.join("/");
}
