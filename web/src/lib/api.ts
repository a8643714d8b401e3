// The portal's public API, as any program may use it. The types are generated from the contract.
import createClient from 'openapi-fetch'
import { connection } from './connection.svelte'
import { session } from './session.svelte'
import type { components, paths } from './api/schema.gen'
import { t } from './i18n/index.svelte'

type Schemas = components['schemas']
export type User = Schemas['User']
export type Plan = Schemas['Plan']
export type Change = Schemas['Change']
export type FileDiff = Schemas['FileDiff']
export type Run = Schemas['Run']
export type RunEvent = Schemas['Event']
export type RevisionSummary = Schemas['RevisionSummary']
export type Health = Schemas['Health']
export type Session = Schemas['Session']
export type Account = Schemas['Account']
export type Token = Schemas['Token']
export type Role = Schemas['Role']
export type Permission = Schemas['Permission']
export type OneTimeLink = Schemas['OneTimeLink']
export type AuditEvent = Schemas['AuditEvent']
export type ApplyActor = NonNullable<Schemas['ApplyActor']>
export type Live = Schemas['Live']
export type Changed = Schemas['LiveChanged']
export type Registration = Schemas['LiveRegistration']
export type LiveCall = Schemas['LiveCall']
// A portal that is older than codes of fields sends none.
export type FieldFault = Omit<Schemas['FieldError'], 'code'> & { code?: string }

export const api = createClient<paths>({ baseUrl: '', credentials: 'same-origin' })

// asPerson returns the header that names whom this page shows as signed in. The browser has one session for all its tabs, and another person
// may have signed in in one of them: the portal refuses what is not meant for the account that is signed in.
export const asPerson = (id = session.person): Record<string, string> => (id ? { 'Expected-Account': id } : {})

api.use({
  onRequest: ({ request }) => {
    for (const [name, value] of Object.entries(asPerson())) request.headers.set(name, value)
    return undefined
  },
})

// Fault is any reason why a request did not do what it should; `code` is one of the contract's, or `offline`.
export class Fault extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly fields: FieldFault[] = [],
    readonly requestID = '',
    readonly retryAfter = 0,
  ) {
    super(detail)
  }

  // field says what is wrong with one field, '' when nothing is.
  field(name: string): string {
    const found = this.fields.find((f) => f.field === name)
    return found ? said(found) : ''
  }

  // known is the reason in the language of the page; '' where only the portal has words for it.
  get known(): string {
    if (this.code === 'offline') return t.fault.offline
    if (this.status === 429) return t.fault.busy(this.retryAfter || 60)
    return t.fault.codes[this.code] ?? (this.status === 403 ? t.fault.forbidden : '')
  }

  get text(): string {
    return this.known || this.detail
  }

  // more is what the portal's own words add to those of the page: a path, a line, what Asterisk answered.
  get more(): string {
    return this.known && telling.has(this.code) ? this.detail : ''
  }
}

const telling = new Set(['drift', 'apply_refused', 'write_failed', 'reload_failed', 'asterisk_disagrees', 'rolled_back', 'in_doubt', 'audit_failed', 'database_newer', 'host_not_allowed'])

export const said = (f: FieldFault): string => t.fault.fields[f.code ?? '']?.(f.least ?? 0, f.most ?? 0) ?? f.message

export const fault = (e: unknown): Fault => (e instanceof Fault ? e : new Fault(0, 'broken', String(e)))

type Answer<T> = { data?: T; error?: unknown; response: Response }
type Problem = { code?: string; detail?: string; request_id?: string; errors?: FieldFault[] }

// Answers that say "not signed in" without a session having ended.
const signingIn = ['sign_in_failed', 'otp_required', 'otp_invalid', 'password_wrong']

// ask waits for an answer and gives its data, or throws a Fault. It also tells the rest of the page what the answer says about the
// connection and the session.
export async function ask<T>(request: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>
  try {
    answer = await request
  } catch {
    connection.lost()
    throw new Fault(0, 'offline', '')
  }
  connection.alive()
  const { response } = answer
  if (response.ok) return answer.data as T
  const problem = (typeof answer.error === 'object' && answer.error !== null ? answer.error : {}) as Problem
  const code = problem.code ?? `http_${response.status}`
  if (code === 'other_account') session.replaced()
  else if (response.status === 401 && !signingIn.includes(code)) session.ended()
  if (code === 'second_factor_needed' && !session.lacksFactor) session.refresh().catch(() => undefined) // the portal was started with another rule
  if (code === 'database_unavailable') connection.without()
  throw new Fault(
    response.status,
    code,
    problem.detail ?? response.statusText,
    problem.errors ?? [],
    problem.request_id ?? response.headers.get('X-Request-Id') ?? '',
    Number(response.headers.get('Retry-After') ?? 0),
  )
}
