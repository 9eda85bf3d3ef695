export const named = () => 'not found';
