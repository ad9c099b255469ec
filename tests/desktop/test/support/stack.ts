/** Where the running stack is: the real service, the simulated platform, and the session tier. */

export const stack = {
  get origin(): string {
    return new URL(setting("BACKOFFICE_URL")).origin;
  },
  get simulatorUrl(): string {
    return setting("SIMULATOR_URL");
  },
  /** Between the service and its upstreams. */
  get switchboardUrl(): string {
    return setting("SWITCHBOARD_URL");
  },
  /** Where the desktop's page is served; the one origin of pages that the service knows. */
  get deskOrigin(): string {
    return setting("DESK_ORIGIN");
  },
  get chromium(): string {
    return setting("CHROMIUM");
  },
  get sessionTier(): URL {
    return new URL(setting("REDIS_SESSION_URL"));
  },
};

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") {
    throw new Error(`${name} is not set: start this with \`make pacts\` or \`make e2e\``);
  }
  return value;
}
