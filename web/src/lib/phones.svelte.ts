// How phones reach Asterisk, as the organisation is set. The portal does not know its own address: unless one is set, it proposes the host name of the page.
import { api, ask, type Organisation } from './api'
import { Resource } from './resource.svelte'
import { session } from './session.svelte'

class Phones {
  #organisation = new Resource<Organisation>(() => ask(api.GET('/api/v1/organisation')))

  load = (): Promise<void> => this.#organisation.load()
  forget = (): void => this.#organisation.forget()

  // transport is the protocol of phones: udp, tcp or tls.
  get transport(): string {
    return this.#organisation.data?.effective_phones.transport ?? 'udp'
  }

  // server is the address, with the port unless it is the usual one of the transport.
  get server(): string {
    const set = this.#organisation.data?.effective_phones
    const address = set?.server_address ?? location.hostname
    if (!set || set.server_port === (set.transport === 'tls' ? 5061 : 5060)) return address
    return `${/:.*:/.test(address) && !address.startsWith('[') ? `[${address}]` : address}:${set.server_port}`
  }

  // uri returns the SIP URI of a phone with the secret (RFC 3261), for phones that scan it.
  uri(name: string, secret: string): string {
    return `sip:${name}:${secret}@${this.server}${this.transport === 'udp' ? '' : `;transport=${this.transport}`}`
  }
}

export const phones = new Phones()
session.onDrop(() => phones.forget())
