import { HttpResponse } from '@smithy/core/protocols';
import { S3Client as Raw, HeadObjectCommand } from '@aws-sdk/client-s3';
import { S3Client } from './src/index.ts';
import { withTenant, acrossTenants } from '@tenantkit/core';
const conf={region:'us-east-1',endpoint:'http://127.0.0.1:9',forcePathStyle:true,credentials:{accessKeyId:'a',secretAccessKey:'b'}};
const rec={handle:()=>Promise.resolve({response:new HttpResponse({statusCode:200,headers:{},body:new Uint8Array()})}),metadata:{handlerProtocol:'h1'},destroy(){},updateHttpClientConfig(){},httpHandlerConfigs(){return{}}};
const raw=new Raw({...conf,requestHandler:rec as never}), ours=new S3Client({...conf,requestHandler:rec as never,tenant:{buckets:['uploads']}});
const N=300; const res:Record<string,number[]>={raw:[],ours:[],bypass:[]};
const loop=async(n:string,c:Raw,key:string)=>{const t=process.cpuUsage();for(let i=0;i<N;i++)await c.send(new HeadObjectCommand({Bucket:'uploads',Key:key}));const u=process.cpuUsage(t);res[n]!.push((u.user+u.system)/N);};
for(let k=0;k<80;k++){ await withTenant('acme',()=>loop('raw',raw,'tenants/acme/some/file.txt')); await withTenant('acme',()=>loop('ours',ours,'some/file.txt')); await acrossTenants({reason:'a',actor:'b'},()=>loop('bypass',ours,'tenants/acme/some/file.txt'));}
const med=(a:number[])=>a.slice(20).sort((x,y)=>x-y)[10]!;
console.log(Object.entries(res).map(([k,v])=>k+' '+med(v).toFixed(1)).join('  '));
