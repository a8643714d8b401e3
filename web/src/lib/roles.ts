// What each role may do, as the portal has it: a test holds the two together.
import type { Permission, Role } from './api'

const every: Permission[] = ['users:read', 'users:write', 'secrets:read', 'apply:read', 'apply:run', 'live:read', 'audit:read', 'accounts:read', 'accounts:write', 'system:read']

export const permissions: Record<Role, Permission[]> = {
  owner: every,
  admin: every,
  operator: ['users:read', 'users:write', 'secrets:read', 'apply:read', 'live:read'],
  applier: ['users:read', 'apply:read', 'apply:run', 'live:read'],
  auditor: ['users:read', 'apply:read', 'live:read', 'audit:read', 'accounts:read', 'system:read'],
}
