export {
  defineConfig,
  type AuditConfig,
  type Config,
  type ConfigSource,
  type ErasureConfig,
} from './config.ts';
