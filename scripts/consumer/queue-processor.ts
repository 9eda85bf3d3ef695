import { currentTenant } from '@tenantkit/core';

export default (): string | undefined => currentTenant()?.tenant;
