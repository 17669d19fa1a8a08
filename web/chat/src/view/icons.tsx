/** Icons: lines of one width. */

const PATHS = {
  menu: "M4 6h16M4 12h16M4 18h10",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  before: "M14 6l-6 6 6 6",
  after: "M10 6l6 6-6 6",
  search: "M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13M15.500 15.500 20 20",
  keys: "M4 7h16v10H4zM7 10.500h.01M10.500 10.500h.01M14 10.500h.01M17 10.500h.01M8 14h8",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  clip: "M18.500 11.500 12 18a4 4 0 0 1-5.700-5.700l7-7a2.600 2.600 0 0 1 3.700 3.700l-6.800 6.800a1.200 1.200 0 0 1-1.700-1.700l6-6",
  microphone: "M12 4a2.500 2.500 0 0 1 2.500 2.500v5a2.500 2.500 0 0 1-5 0v-5A2.500 2.500 0 0 1 12 4M6.500 11.500a5.500 5.500 0 0 0 11 0M12 17v3",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
} as const;

/** An icon that says nothing by itself. */
export const Icon = ({ name }: { name: keyof typeof PATHS }) => (
  <svg viewBox="0 0 24 24" aria-hidden="true">
    <path d={PATHS[name]} />
  </svg>
);

export const StopIcon = () => (
  <svg viewBox="0 0 24 24" aria-hidden="true">
    <rect x="7" y="7" width="10" height="10" rx="2" class="solid" />
  </svg>
);

export const ThemeIcon = () => (
  <svg viewBox="0 0 24 24" aria-hidden="true">
    <circle cx="12" cy="12" r="8" />
    <path d="M12 4a8 8 0 0 1 0 16Z" class="solid" />
  </svg>
);

export const SettingsIcon = () => (
  <svg viewBox="0 0 24 24" aria-hidden="true">
    <path d="M4 7h9M17 7h3M4 17h3M11 17h9" />
    <circle cx="15" cy="7" r="2" />
    <circle cx="9" cy="17" r="2" />
  </svg>
);

export const Bird = () => (
  <svg viewBox="0 0 32 32" aria-hidden="true">
    <path
      d="M3 9.500c8-.5 13.500 1.700 17.500 6.700L28 14l-5 6.200c1.100 2.200 1.300 4.500.5 7.300-2.200-4.500-5.600-6.200-10.700-6.200 2.200-.5 3.400-1.300 4-2.600C12.600 18 7 15.700 3 9.500Z"
      fill="currentColor"
    />
  </svg>
);
