import config from "./playwright.config.js";

const { projects: _, ...rest } = config;

/** `make bench`: speed is printed apart from the tests. */
export default { ...rest, testDir: "bench", workers: 1 };
