export { defineConfig, type Config, type ConfigSource } from './config.ts';
