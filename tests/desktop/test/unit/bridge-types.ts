/** The bridge's types beside those of the contract; what differs does not compile. */
import type {
  Actions,
  Answer,
  Calls,
  DashboardFrame,
  LiveEvent,
  Outcome,
  Problem,
  Reads,
} from "../../../../schemas/desktop.js";
import type { components, operations } from "../../src/generated/api.js";

type Schemas = components["schemas"];

/** The same type written in one way, however deep. */
type Plain<Type> = Type extends (infer Item)[]
  ? Plain<Item>[]
  : Type extends object
    ? { [Member in keyof Type]: Plain<Type[Member]> }
    : Type;

type Same<One, Other> =
  (<Probe>() => Probe extends Plain<One> ? 1 : 2) extends <Probe>() => Probe extends Plain<Other>
    ? 1
    : 2
    ? true
    : false;

type Members<Parameters> = [NonNullable<Parameters>] extends [never]
  ? unknown
  : NonNullable<Parameters>;

/** A header of the contract → how a call over the bridge names it; others are the client's business. */
interface HeaderNames {
  "If-Match": "ifMatch";
  "X-Mfa-Attestation": "attestationId";
}

type NamedHeaders<Headers> = {
  [
    Header in keyof Headers as Header extends keyof HeaderNames ? HeaderNames[Header] : never
  ]: NonNullable<Headers[Header]>;
};

/** A read names its property in the query, a change in a header. */
type NamedProperty<Operation extends Shape> = Operation extends {
  requestBody: unknown;
  parameters: { header: { "X-Property-Id"?: infer Id } };
}
  ? "X-Property-Id" extends keyof Operation["parameters"]["header"]
    ? { propertyId?: Id & string }
    : unknown
  : unknown;

interface Shape {
  parameters: { path?: unknown; query?: unknown; header?: unknown };
  requestBody?: unknown;
  responses: unknown;
}

type BodyOf<Operation> = Operation extends {
  requestBody: { content: { "application/json": infer Body } };
}
  ? { body: Body }
  : unknown;

type RequestOf<Operation extends Shape> = Members<Operation["parameters"]["path"]> &
  Members<Operation["parameters"]["query"]> &
  NamedHeaders<Members<Operation["parameters"]["header"]>> &
  NamedProperty<Operation> &
  BodyOf<Operation>;

/** What asks for nothing in particular is asked for without a request. */
type Asked<Request> = [keyof Request] extends [never] ? undefined : Request;

type Json<Response> = Response extends { content: { "application/json": infer Body } }
  ? Body
  : never;

type SuccessOf<Operation extends Shape> =
  | (200 extends keyof Operation["responses"] ? Json<Operation["responses"][200]> : never)
  | (201 extends keyof Operation["responses"] ? Json<Operation["responses"][201]> : never);

/** The names of those functions that are not as the contract has them. */
type Differing<Functions, Result extends "answer" | "outcome"> = {
  [Name in keyof Functions]: Name extends keyof operations
    ? Functions[Name] extends (...request: infer Request) => Promise<infer Told>
      ? Same<Asked<Request[0]>, Asked<RequestOf<operations[Name]>>> extends true
        ? Same<
            Told,
            Result extends "answer"
              ? Answer<SuccessOf<operations[Name]>>
              : Outcome<SuccessOf<operations[Name]>>
          > extends true
          ? never
          : [Name, "answers something else"]
        : [Name, "asks for something else"]
      : [Name, "is no function of one request"]
    : [Name, "is no operation"];
}[keyof Functions];

/** Compiles only while nothing differs; else the error names what does. */
function nothing<Differences extends never>(): Differences[] {
  return [];
}

export const DIFFERENCES = [
  ...nothing<Differing<Reads, "answer">>(),
  ...nothing<Differing<Calls, "answer">>(),
  ...nothing<Differing<Actions, "outcome">>(),
  ...nothing<Same<DashboardFrame, Schemas["DashboardFrame"]> extends true ? never : "frames">(),
  ...nothing<Same<LiveEvent, Schemas["LiveEvent"]> extends true ? never : "live events">(),
  ...nothing<Same<Problem, Schemas["Problem"]> extends true ? never : "problems">(),
];

interface Wrong {
  checkIn(action: { id: string }): Promise<Outcome<components["schemas"]["Changed"]>>;
  issueKey(
    ...action: Parameters<Actions["issueKey"]>
  ): Promise<Outcome<components["schemas"]["Changed"]>>;
}

// That there is something to be seen at all.
// @ts-expect-error: a request lacks its body, an answer is another one's
nothing<Differing<Wrong, "outcome">>();
