// Who is signed in, and what they may do. When a session ends in the middle of something, the page stays as it is and asks to sign in
// again over it: nothing that was typed is lost.
import { api, ask, fault, type Permission, type Session } from './api'

export type Gate = 'starting' | 'setup' | 'signed_out' | 'signed_in' | 'unreachable' | 'replaced'

class SessionState {
  gate = $state<Gate>('starting')
  current = $state.raw<Session | null>(null)
  lapsed = $state(false) // signed in here, but the server no longer agrees
  oidc = $state(false)
  owes = $state(false) // the sign-in service let them in, and the account's own second factor is still to be given
  renewals = $state(0)
  persons = $state(0) // how often what the page knows of a person was dropped
  #known = '' // the account that the page holds something of
  #drops: ((person: string) => void)[] = []

  // person is the id of the account that this page shows as signed in, '' for none.
  get person(): string {
    return this.current?.account?.id ?? ''
  }

  // onDrop registers what drops all that is held of anybody but one person, '' for all.
  onDrop(drop: (person: string) => void): void {
    this.#drops.push(drop)
  }

  #drop(person: string): void {
    this.#known = person
    this.persons++
    for (const drop of this.#drops) drop(person)
  }

  async start(): Promise<void> {
    try {
      const setup = await ask(api.GET('/setup'))
      this.oidc = setup.oidc ?? false
      if (setup.needed) {
        this.gate = 'setup'
        return
      }
      this.enter(await ask(api.GET('/session')))
    } catch (e) {
      const f = fault(e)
      this.owes = f.code === 'otp_required'
      if (f.status === 401) this.gate = 'signed_out'
      else this.gate = 'unreachable'
    }
  }

  enter(session: Session): void {
    const person = session.account?.id ?? ''
    if (person !== this.#known) this.#drop(person)
    this.current = session
    this.gate = 'signed_in'
    this.lapsed = false
    this.owes = false
    this.renewals++
  }

  ended(): void {
    if (this.current) this.lapsed = true
  }

  // replaced is told that another person has signed in in this browser. Nothing of the person before stays on the page.
  replaced(): void {
    this.forget()
    this.gate = 'replaced'
  }

  // refresh asks who we are again, after a change of the own account.
  async refresh(): Promise<void> {
    this.current = await ask(api.GET('/session'))
  }

  async leave(): Promise<void> {
    try {
      await ask(api.DELETE('/session'))
    } catch (e) {
      if (fault(e).status !== 401) throw e
    }
    this.forget()
  }

  forget(): void {
    this.current = null
    this.lapsed = false
    this.owes = false
    this.gate = 'signed_out'
    this.#drop('')
  }

  may(permission: Permission): boolean {
    return this.current?.permissions.includes(permission) ?? false
  }

  // lacksFactor says that nothing else works before a second factor is set up.
  get lacksFactor(): boolean {
    const account = this.current?.account
    return account ? account.totp_demanded && !account.totp_enabled : false
  }

  get name(): string {
    return this.current?.account?.name ?? this.current?.token?.name ?? ''
  }
}

export const session = new SessionState()
