/**
 * Facts that only a provider's states can tell: a pact names them, and whoever writes the pact uses
 * an example of each.
 */
import { MatchersV3 } from "@pact-foundation/pact";

/** Texts in which facts stand as `${alertId}`, over examples by the name under which a state answers. */
export function factsOf<Name extends string>(examples: Readonly<Record<Name, string>>) {
  function example(template: string): string {
    return template.replace(/\$\{(\w+)\}/g, (_, name: string) => examples[name as Name]);
  }
  function told(template: string) {
    return MatchersV3.fromProviderState(template, example(template));
  }
  /** The one fact. */
  function fact(name: Name) {
    return told(`\${${name}}`);
  }
  return { example, told, fact };
}
