import config from "./playwright.config.js";

/** `make bench`: speed is printed apart from the tests. */
export default { ...config, testDir: "bench" };
