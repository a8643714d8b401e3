// The permissions of each role; a test compares them with the portal's.
import type { Permission, Role } from './api'
import { t } from './i18n/index.svelte'
import { session } from './session.svelte'

const every: Permission[] = ['users:read', 'users:write', 'things:read', 'things:write', 'switches:write', 'secrets:read', 'apply:read', 'apply:run', 'live:read', 'audit:read', 'accounts:read', 'accounts:write', 'system:read']

export const permissions: Record<Role, Permission[]> = {
  owner: every,
  admin: every,
  operator: ['users:read', 'users:write', 'things:read', 'switches:write', 'secrets:read', 'apply:read', 'live:read'],
  applier: ['users:read', 'things:read', 'apply:read', 'apply:run', 'live:read'],
  auditor: ['users:read', 'things:read', 'apply:read', 'live:read', 'audit:read', 'accounts:read', 'system:read'],
}

// rolesToGive returns the roles that the user can assign: none with more permissions than their own, and only an owner can assign owners.
export const rolesToGive = (): { value: Role; label: string }[] =>
  (Object.keys(permissions) as Role[]).filter((r) => r !== 'owner' || session.current?.account?.role === 'owner').map((value) => ({ value, label: t.roles[value] }))
