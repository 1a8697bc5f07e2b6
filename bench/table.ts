/** One measured thing; what it is beyond its name and time is up to the bench. */
export interface Row {
  name: string;
  ms?: number;
  [column: string]: string | number | undefined;
}

/** Prints rows with their columns aligned, numbers to three figures. */
export function printTable(rows: readonly Row[], say: (line: string) => void = console.log): void {
  if (rows.length === 0) return;
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = rows.map((row) => columns.map((column) => show(row[column])));
  const widths = columns.map((column, i) => Math.max(column.length, ...cells.map((cell) => cell[i].length)));
  const line = (values: string[]) =>
    values.map((value, i) => (i === 0 ? value.padEnd(widths[i]) : value.padStart(widths[i]))).join("  ");
  say(line(columns));
  for (const cell of cells) say(line(cell));
  say("");
}

function show(value: string | number | undefined): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}
