/** What a test tells the switchboard. */

/** Where it is told; no service has this name. */
export const CONTROL = "/_diversion";

/** Requests of one kind that go elsewhere. */
export interface Diversion {
  service: string;
  method: string;
  /** Regular expression for the path from the service's base. */
  path: string;
  /** Names of the parameters in its query, in the order of the alphabet. */
  parameters: string[];
  /** URL of who answers in the service's place. */
  to: string;
}
