/** Figures as people read them. */

/** `4:05`, `1:02:03`, `2d 3:00:00`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
  ];
  const two = (amount: number) => String(amount).padStart(2, "0");
  const clock = days + hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  return days > 0 ? `${days}d ${clock}` : clock;
}

const scales: [size: number, unit: string][] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** Three digits and a unit: `12.3k`, `1.20G`. */
export function short(amount: number): string {
  const [size, unit] = scales.find(([size]) => Math.abs(amount) >= size * 0.9995) ?? [1, ""];
  const value = amount / size;
  if (unit === "" && Number.isInteger(value)) return String(value);
  return value.toFixed(Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2) + unit;
}

/** `12.3 MB` */
export const bytes = (amount: number): string => short(amount).replace(/([TGMk]?)$/, " $1B");

/** A loss or a rate of any size: `3.2140`, `5.00e-4`. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e5 || (size < 1e-2 && size > 0)) return value.toExponential(2);
  return size >= 100 ? value.toFixed(1) : value.toFixed(4);
}
